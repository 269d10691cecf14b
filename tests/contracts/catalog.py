"""All contracts, in the order of the modules and of their text."""

from __future__ import annotations

from tests.contracts import content_contracts, crash_contracts, store_contracts
from tests.contracts.contract import ENTERED, Contract

MODULES = (content_contracts, crash_contracts, store_contracts)
CONTRACTS: tuple[Contract, ...] = tuple(ENTERED)

"""Disks and processes of real machines. Only the modules in here import os or fcntl."""

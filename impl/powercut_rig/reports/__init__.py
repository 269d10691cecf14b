"""Results as text, JUnit and HTML."""

"""Programs that use the library as a reader would."""

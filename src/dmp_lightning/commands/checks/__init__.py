"""What users type, checked before anything is built."""

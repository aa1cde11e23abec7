"""Where images are found: folders, archives and IDX files, with their classes."""

"""Sources of images: folders, archives and IDX files, with their classes."""

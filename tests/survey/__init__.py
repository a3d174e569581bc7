"""What published packages promise in their own metadata, asked of the image that has them (`make survey`)."""

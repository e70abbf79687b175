"""The plane of codes as one HTML file to walk around in."""

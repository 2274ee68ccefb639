"""What is measured, and how: see docs/search.md."""

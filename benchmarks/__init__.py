"""What is measured, and how: see docs/performance.md, docs/search.md and docs/operations.md."""

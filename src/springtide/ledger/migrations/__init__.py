"""How the schema came to be, step by step (Alembic), and the code that takes a database there at start."""

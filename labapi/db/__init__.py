"""The database: what is true. One module of queries for each noun."""

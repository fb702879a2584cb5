"""Pipeline moves: it takes a request from prompt to release."""

"""The pages for people who sign in: create, desk, assets, audit, status. Forms that work without scripts; scripts only
show what happens while it happens."""

"""The HTTP service: the page for anyone, `POST /v1/verify`, records, and the recovery API of C2PA.

Modules of routes stand beside each other and know nothing of each other: `app.create_app` puts them together. Every
cost to a stranger is bounded (`guarding`, `rating`, `desk`), and nothing that a stranger sends is kept (`spooling`).
"""

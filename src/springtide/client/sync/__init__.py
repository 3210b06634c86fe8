"""The synchronous client. Made from `springtide.client.aio`: python docs/generate.py."""

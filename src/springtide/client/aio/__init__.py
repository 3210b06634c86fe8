"""The asynchronous client, as it is written. `springtide.client.sync` is made from it: python docs/generate.py."""

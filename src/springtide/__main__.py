"""`python -m springtide`. Guarded: the engine's child process imports this module again, under another name."""

if __name__ == "__main__":
    from springtide.cli.main import main

    main()

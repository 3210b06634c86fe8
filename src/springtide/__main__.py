"""`python -m springtide`. Guarded: the engine's child process imports this module again, under another name."""

if __name__ == "__main__":
    import os
    import sys

    if sys.argv[1:2] == ["worker"] and "SPRINGTIDE_WORKER" in os.environ:  # the local fleet's way, without typer
        from springtide.cli.worker_main import main
    else:
        from springtide.cli.main import main

    main()

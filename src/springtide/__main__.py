"""`python -m springtide`. Guarded: the engine's child process imports this module again, under another name."""

if __name__ == "__main__":
    import os
    import sys

    # What `springtide up` starts, or a worker, is told by a variable and needs no typer: less memory, an earlier start.
    if sys.argv[1:2] == ["worker"] and "SPRINGTIDE_WORKER" in os.environ:
        from springtide.cli.worker_main import main
    elif sys.argv[1:2] == ["gateway"] and "SPRINGTIDE_GATEWAY" in os.environ:
        from springtide.cli.gateway_main import main
    elif sys.argv[1:2] == ["rank"]:
        from springtide.cli.rank_main import main
    else:
        from springtide.cli.entry import main

    main()

"""`python -m thalweg.ops.cli`."""

from thalweg.ops.cli.main import main

if __name__ == "__main__":
    main()

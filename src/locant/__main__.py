"""`python -m locant`, as `locant`."""

from locant.cli import main

if __name__ == "__main__":
    main()

"""`python -m llm_assets.serving.stop`: end every server that serving left running; `--status` only lists them."""

import sys

from resources.errors import PlatformError
from resources.serving import LocalServing
from resources.settings import Settings


def main(arguments: list[str]) -> int:
    """End or list the servers of this checkout; returns the exit status."""
    try:
        serving = LocalServing(Settings.from_env().serving_dir)
        if "--status" in arguments:
            print("\n".join(serving.status()) or "Nothing was ever deployed here.")
            return 0
        ended = serving.stop_all()
    except PlatformError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(f"Ended the {title}." for title in ended) or "No server was running.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

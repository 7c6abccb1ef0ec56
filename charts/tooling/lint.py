"""`helm lint --strict` on the chart with its defaults and each of its profiles.

python -m charts.tooling.lint     prints what helm says about the ones that it refuses; exit 1
"""

import subprocess
import sys

from charts.tooling.programs import helm
from charts.tooling.values import CHART


def lint() -> list[str]:
    """What helm says, for each values file that it refuses."""
    refused = []
    for values in sorted(CHART.glob("values*.yaml")):
        command = [str(helm()), "lint", "--strict", str(CHART), "--values", str(values)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            refused.append(f"{values.name}:\n{done.stdout}{done.stderr}")
    return refused


if __name__ == "__main__":
    faults = lint()
    sys.stderr.write("".join(faults))
    sys.exit(1 if faults else 0)

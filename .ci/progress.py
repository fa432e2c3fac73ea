"""What `make reports` says after each report: how many stand, and how long the others take at the pace so far.

    progress.py START NAME:SECONDS...

START: when make began, in seconds since 1970. SECONDS: what each report took on two processors (AMD EPYC, December 2026);
a report counts for the pace if it was made since.
"""
import sys
import time
from pathlib import Path

REMEMBERED = 30 # Seconds that the pace of that machine counts for, so that the first report alone does not decide


def progress(start, seconds, now, reports=Path("reports"), ready=Path(".venv/.ready")):
    "The line to print, from report -> seconds; None when all stand."
    files = {name: reports/name/"report.json" for name in seconds}
    left = [seconds[n] for n, f in files.items() if not f.exists()]
    if not left: return None
    begun = max([start, *(f.stat().st_mtime for f in [ready] if f.exists())]) # Installing says nothing of the pace
    made = sum(seconds[n] for n, f in files.items() if f.exists() and f.stat().st_mtime >= begun)
    rest = sum(left)*(now-begun+REMEMBERED)/(made+REMEMBERED)
    time_left = f"{rest/60:.0f} minutes" if rest > 90 else f"{round(rest, -1) or 10:.0f} seconds"
    return f"{len(seconds)-len(left)} of {len(seconds)} reports stand; the others take about {time_left} at this pace"


if __name__ == "__main__":
    shares = {name: float(took) for name, took in (share.split(":") for share in sys.argv[2:])}
    if line := progress(float(sys.argv[1]), shares, time.time()): print(line, flush=True)

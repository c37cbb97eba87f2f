#!/usr/bin/env python3
"""What `ps-plus bench --save FILE` has written, drawn or checked.

    script/bench_plot.py FILE.json FILE.png      ratios to the floors and to
                                                 Redis (needs matplotlib)
    script/bench_plot.py --check FILE.json FILE.txt
                                                 the form of the JSON and of
                                                 the table that went with it
"""

import json
import sys


def check(data, text):
    """Returns what is wrong, one line each."""
    wrong = []

    def want(holds, what):
        if not holds:
            wrong.append(what)

    want(data["format"] == 1, "format is not 1")
    want(data["commit"] and data["kernel"], "commit or kernel is missing")
    want(data["seed"] > 0, "no seed")
    want(len(data["cells"]) == 2, "there are not two cells")
    want(len(data["limits"]) == 1, "there is not one set of limits")
    for limits in data["limits"]:
        want(len(limits["samples"]) == 5, "limits were not measured 5 times")
        for sample in limits["samples"]:
            for name in ("line_ns", "gather_ns", "gather2_ns", "touch_ns",
                         "update_ns", "tcp_ns_per_byte"):
                want(sample[name] > 0, f"{name} is not above 0")
    for cell in data["cells"]:
        name = cell["name"]
        parts = name.split("/")
        want(len(parts) == 7, f"{name} has not seven words")
        want(name in text, f"{name} is not in the table")
        want(len(cell["samples"]) == 5, f"{name} has not 5 samples")
        want(cell["of_floor"] > 0, f"{name} has no ratio to its floor")
        times = sorted(s["ns"] for s in cell["samples"])
        want(times[0] > 0, f"{name} has a time of 0")
        want(abs(cell["ns_per_key"] - times[2]) <= 1e-3 * times[2],
             f"{name} is not the median of its samples")
        for sample in cell["samples"]:
            want(sample["floor_ns"] > 0, f"{name} has a floor of 0")
            want(sample["cpu_client_s"] >= 0 and sample["cpu_server_s"] >= 0,
                 f"{name} has a negative CPU time")
    for fill in data["fills"]:
        want(fill["ns_per_key"] > 0, f"{fill['name']} took no time")
        want(0 <= fill["slow"] <= 1, f"{fill['name']} has no share of pauses")
    want(len(data["fills"]) == 3, "there are not three fills")
    return wrong


def draw(data, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    groups = [("in process: floor / time", "memory", "of_floor"),
              ("over TCP: floor / time", "tcp", "of_floor"),
              ("over TCP: times Redis", "tcp", "of_redis")]
    groups = [(title, [c for c in data["cells"]
                       if c["where"] == where and key in c], key)
              for title, where, key in groups]
    groups = [g for g in groups if g[1]]
    rows = max((len(g[1]) for g in groups), default=1)
    figure, axes = plt.subplots(1, max(len(groups), 1), squeeze=False,
                                figsize=(7 * max(len(groups), 1),
                                         1.5 + 0.2 * rows))
    for axis, (title, cells, key) in zip(axes[0], groups):
        names = [c["name"].split("/", 1)[1] for c in cells]
        colors = ["C0" if c["what"] == "pull" else "C1" for c in cells]
        axis.barh(names, [c[key] for c in cells], color=colors)
        axis.invert_yaxis()
        axis.set_title(title)
        axis.axvline(1, color="black", linewidth=0.8)
        axis.tick_params(axis="y", labelsize=7)
    figure.suptitle(f"ps-plus {data['version']}, commit {data['commit']}, "
                    f"seed {data['seed']}, load {data['load']:.1f} before")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main():
    words = sys.argv[1:]
    checks = words[:1] == ["--check"]
    words = words[1:] if checks else words
    if len(words) != 2:
        sys.exit(__doc__)
    with open(words[0], encoding="utf-8") as f:
        data = json.load(f)
    if not checks:
        draw(data, words[1])
        return
    with open(words[1], encoding="utf-8") as f:
        wrong = check(data, f.read())
    for line in wrong:
        print(f"bench: {line}")
    print(f"bench: {len(data['cells'])} cells, {len(wrong)} complaints")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

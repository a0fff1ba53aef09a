"""The benchmark: h2gate and its peers under the same loads in the same run. `python -m bench --help`.

The pieces, in the order of a run: `rows` (the loads), `gates` (who is measured), `stand` (backend, files, ports,
cores), `load` (what makes the load, and reading what it says), `cost`, `latency`, `scale` (what is measured), `tables`,
`plot` and `publish` (what is shown). Every figure goes through `raw.json`: the pages are made from that file alone.
"""

"""A plugin's updater in real servers: examples/plugin/signum.c."""

import subprocess
import unittest

import cluster


class Plugin(unittest.TestCase):
    def test_an_updater_of_a_plugin_is_applied_by_every_server(self):
        plugin = ["--plugin", cluster.program("PS_TEST_PLUGIN")]
        with cluster.Cluster(scheduler_options=plugin,
                             server_options=[plugin, plugin]) as c:
            c.ask("size", "signum")
            status = c.status()
        self.assertEqual(status["variables"][0]["rows"], 1000)

    def test_without_the_plugin_its_updater_is_not_known(self):
        with cluster.Cluster(servers=1, shards=1) as c:
            said = c.ask("size", "no-signum")
        self.assertEqual(said["status"], "PS_ENOUDF")
        self.assertIn("SignumUpdater", said["text"])

    def test_local_passes_it_on(self):
        r = subprocess.run(
            [cluster.program("PS_PLUS_BIN"), "local", "--servers", "2",
             "--plugin", cluster.program("PS_TEST_PLUGIN"), "--",
             cluster.program("PS_PROBE_BIN"), "size", "signum"],
            capture_output=True, text=True, timeout=50)
        self.assertEqual(r.returncode, 0, r)

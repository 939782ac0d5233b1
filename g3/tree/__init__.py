# SPDX-License-Identifier: Apache-2.0
"""The service tree: nodes, how they find each other, how a configuration becomes them and how it is reloaded.

- L{node.Node}: one configured thing as a service; L{node.NodeContext}: what it is made with.
- L{slots.Slot}: where a node is found by name, through every reload.
- L{listeners.ListenerPool}: listening sockets, which outlive the servers on them.
- L{reload}: the difference of two configurations, and going from one to the other whole or not at all.
- L{root.Root}: the tree of one daemon; L{offline.Shutdown}: how it ends.
"""

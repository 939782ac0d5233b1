# SPDX-License-Identifier: Apache-2.0
"""The processes of a daemon: a supervisor that keeps the sockets, and the workers that serve.

- L{memory}: the cells that all processes of a daemon see; L{balance}: who accepts the next client.
- L{link}: what supervisor and worker say to each other; L{nursery}: the small process that forks workers.
- L{privileges}: what each may after the change of user.
- L{keeper}: the supervisor's tree, which binds and checks and never serves; L{crew}: its workers; L{answers}: what they say, as one answer.
"""

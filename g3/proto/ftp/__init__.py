# SPDX-License-Identifier: Apache-2.0
"""FTP as its client speaks it (RFC 959, 2428, 3659): commands out, replies and listings in, and what an ftp:// URI asks for."""

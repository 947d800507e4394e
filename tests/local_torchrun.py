"""``torchrun`` whose store listens to this machine alone; PyTorch's listens to all."""

import socket
import sys
from typing import Any

from torch.distributed import TCPStore
from torch.distributed.elastic.rendezvous import static_tcp_rendezvous
from torch.distributed.run import main


class LocalStore(TCPStore):
    """Store whose server is bound to 127.0.0.1."""

    def __init__(self, host: str, port: int, *arguments: Any, **options: Any) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        super().__init__(host, port, *arguments, **options, master_listen_fd=listener.detach())


if __name__ == "__main__":
    static_tcp_rendezvous.TCPStore = LocalStore
    main(sys.argv[1:])

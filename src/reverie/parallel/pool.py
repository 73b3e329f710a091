"""A pool of processes for work that keeps one core busy each; no orphans."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import parent_process

import torch


def make_pool(num_workers: int) -> ProcessPoolExecutor:
    """Start processes of one thread each that end with this one, however it ends.

    Args:
        num_workers: At least 1.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

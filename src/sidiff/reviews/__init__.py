"""From raw review lines to integer sequences and item texts.

``layouts`` and ``ingestion`` read raw files into typed frames, ``kcore`` and
``sequences`` turn interactions into histories, targets and their split, ``text``
renders what the encoder reads, ``download`` fetches raw files and ``sample_shop``
makes a synthetic shop in the same raw layout.
"""

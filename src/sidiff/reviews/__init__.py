"""From raw review lines to integer sequences and item texts.

``layouts`` and ``ingestion`` read Amazon's files into typed frames, ``own_data`` tables
of any shop (``encodings``, ``delimited`` and ``json_text`` the forms of a text,
``values``, ``times`` and ``numbers`` what stands in it), ``kcore`` and
``sequences`` turn interactions into histories, targets and their split, ``text``
renders what the encoder reads, ``download`` fetches raw files and ``sample_shop``
makes a synthetic shop in the same raw layout.
"""

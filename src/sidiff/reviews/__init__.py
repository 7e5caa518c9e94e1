"""Raw review files to integer sequences and item texts.

``ingestion`` reads Amazon's files in the layouts of ``layouts``; ``own_data`` reads
tables with any column names. ``tables`` scans a table in any format (``delimited``,
``json_text``, ``encodings``), and ``values``, ``times`` and ``numbers`` convert its
values. ``kcore`` and ``sequences`` turn interactions into histories, targets and their
split, and ``text`` renders the texts for the encoder. ``download`` fetches raw files;
``sample_shop`` generates a synthetic shop in Amazon's format.
"""

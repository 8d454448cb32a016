"""Other tools' annotations in and out, over one form between them (annotations.py).

    annotations = read_annotations(path)    recognise.py         whichever tool wrote it; `WRITERS` are all formats out
    number_together([...])                  annotations.py       the ids of objects, by groups, tracks, or names
    read_given(arguments, source)           mask_arguments.py    `--mask`: masks and other tools' files, per frame
    open_set(folder, annotations)           opening.py           StillImages or ClipSet of any tool, or what to do
    check_dataset(folder)                   check.py             all faults of the set that `open_set` opens
    outlines(mask), one_outline(mask)       outlines.py          polygons that give back exactly the mask
    new_folder(path)                        writing.py           a folder that appears whole

labelme.py, coco.py, yolo.py, cvat.py, label_studio.py, label_pictures.py and tables.py are one format each.
"""

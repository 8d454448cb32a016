"""Data sets and their labels: what lies in a folder, which frame a file is meant for, what a mask's values mean.

Videos (DAVIS 2016 and 2017, YouTube-VOS, MOSE, LVOS, folders of images and masks):

    dataset = recognise(root)              dataset.py    sequences by name, each with images and masks by frame name
    clips = ClipSet(root)                  clips.py      the same to train on: `load_frame`, `load_labels`
    match_names(files, frames)             matching.py   which frame each file is meant for; refuses doubt

Photographs (COCO format):

    stills = StillImages(folder)           coco.py       `load(index)` gives the image and its objects' masks
    ImageFinder(folder).find(file_name)    coco_find.py  an image file that annotations name; never outside the folder

Either, as a user names it:

    open_set(folder, annotations)          opening.py    StillImages or ClipSet, or a sentence on what it is instead
    check_dataset(folder)                  check.py      every fault at once, of what `open_set` loads

Masks; 255 beside other ids is void, and what becomes of it is said by the caller (`Void.BACKGROUND`, `Void.APART`):

    LabelReader(name, void).read(file)     labels/decode.py      the masks of one sequence, in order
    read_labels(file, void).ids            labels/decode.py      one mask file
    read_mask(file)                        labels/mask_file.py   the same, with sentences on how it was understood
    read_mask_arguments(arguments, source) labels/masks.py       `[FRAME=]FILE` and folders of masks, per frame
    encode_rle, decode_segmentation        video_rle.py, rle.py  COCO run lengths and polygons

`ObjectLimits` (limits.py) says which objects are large enough. Faults raise DataError or InputError.
"""

"""Segments a source into a result folder. `runner.py` has the whole run; the other modules are its parts.

settings, inputs, prompts        the input of a run: settings, masks, boxes, clicks
loop, pipeline, results          frame by frame: read, segment and write, each in its own thread
finish, review, review_page      the end: report.json, the frames to review, review.html
output, resume                   the result folder (its files: `hodor_cli.records`), continuing an interrupted run
earlier, correcting, correction  additional masks for a finished run
choosing, exporting              the frames to mask next; the result in formats of other tools
segment                          `hodor_cli.segment`, one call for all of this
many/                            many videos, in processes or on Ray
"""

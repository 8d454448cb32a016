"""Segments a source into a result folder. `runner.py` is the run as a whole; the others are its parts.

settings, inputs, prompts        what a run is told: settings, masks, boxes, clicks
loop, pipeline, results          frame by frame: read, segment, write, each in a thread of its own
finish, review, review_page      the end: report.json, the frames to review, review.html
output, records, resume          the result folder, the schemas of its files, continuing an interrupted run
earlier, correcting, correction  additional masks for a finished run
choosing, exporting              the frames to mask next; the result in formats of other tools
segment                          `hodor_cli.segment`, one call for all of this
many/                            many videos, in processes or on Ray
"""

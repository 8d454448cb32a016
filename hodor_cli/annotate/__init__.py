"""The local web page: make masks by clicking, watch and correct tracking, review and export, all in the browser.

browser <-> server (guarded) <-> session (one request at a time) -> project folder, prompts, tracking
"""

"""The local page: masks by clicking, tracking that can be watched and corrected, review and export in the browser.

browser <-> server (guarded) <-> session (one command after the other) -> project folder, prompts, tracking
"""

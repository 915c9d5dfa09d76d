"""Action sources: from which scene the item of an action was reached, and by which pages.

Always holds: one row per like, favorite, comment, share, follow and order, whose ``path`` lists the
pages that led to it within its session and the hour before it, both bounds inclusive, twenty at
most; and one row for each of these pages. The ``direct`` one is the page of the action itself: its
``touch_scene`` is the source, and it has the credit. Pages lead on by ``referrer_page_id`` where it
is logged, else by time, and going back to a page takes back the path from there.

Not promised: a source where views log a scene of their own rather than that of the list they were
opened from. With ``own_page=False`` the direct page is the one before. Nor that what is taken back
goes: an unlike says nothing of where the like came from, and the one ``undone_by`` of a rule could
not tell the like of an item from its share.
"""

from __future__ import annotations

from labeling import AttributionRule, Event, last_touch, session

#: Whatever shows that the user was on a page: lists are known by what is shown or done on them.
PAGES = ("impression", "click", "search", "view_start")

ACTION_SOURCES = AttributionRule(
    name="action_sources",
    version=1,
    action=Event("like", "favorite", "comment", "share", "follow", "order"),
    match=("user_id",),
    # Beside sessions of minutes an hour is long; with it the rule stays hot.
    touches=(Event(*PAGES, within="1h"),),
    credit=last_touch(),
    trail=True,
    session=session("30m"),
    max_touches=20,
    path="page_id",
)

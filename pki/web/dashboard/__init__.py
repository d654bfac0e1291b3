"""The pages: what a person keeps open in a browser, rendered here, readable without script.

`page` renders one and says who is signed in; `routes` makes routers whose every route needs somebody signed in, takes
forms by POST with their proof alone, and shows refusals as pages. Nothing here decides anything: a page reads, an
action calls the very function that the API calls. Read `visitor.py` next for who is who.
"""

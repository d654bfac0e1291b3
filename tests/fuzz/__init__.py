"""Campaigns that throw damaged input at one door for as long as they are told to; short runs of them are tests."""

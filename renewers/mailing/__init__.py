"""Who is told what by mail, and when: thresholds that were crossed, letters that say so, and why one was (not) sent."""

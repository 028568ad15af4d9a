"""A home in a bucket: objects, a working copy of them on this machine, and the rules by which things are published.

Rooms read and write files of the working copy. What is finished is put into the bucket by those who publish it, parts
first, what names them last; what the copy lacks is fetched by those who look it up. Nothing is renamed there.
"""

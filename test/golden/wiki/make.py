# `python make.py`. Streams of blocks of 100 kB, some of two and three blocks; texts of two bytes a letter, so that blocks end within one.
import bz2

pages = []
for i in range(5):
    # The test writes the same: 20, 19,020, … letters.
    text = "".join(chr(0x400 + (i + j * j) % 256) for j in range(20 + 19000 * i))
    pages.append(
        f"<page><title>Page {i} é</title><ns>0</ns><id>{i + 1}</id>"
        f'<revision><id>{i + 1}</id><text xml:space="preserve">{text}</text></revision></page>\n'
    )
parts = ["<mediawiki>\n<siteinfo><sitename>Test</sitename></siteinfo>\n", "".join(pages[:2]), pages[2], "".join(pages[3:]), "</mediawiki>\n"]
with open("pages-articles-multistream.xml.bz2", "wb") as out:
    for part in parts:
        out.write(bz2.compress(part.encode(), 1))

"""The report of an evaluation on bags as one HTML page that needs nothing but itself."""

from ros_ood_monitor.evaluation.bags.html_page.verdict import verdict
from ros_ood_monitor.evaluation.bags.html_page.write import check_html, HTML_SUFFIXES, write_html

__all__ = ['HTML_SUFFIXES', 'check_html', 'verdict', 'write_html']

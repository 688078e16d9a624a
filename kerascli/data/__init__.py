"""The data sets that come with the package; their licences are in LICENSES.md."""

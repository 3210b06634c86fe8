"""Parts of reports as one HTML file: charts and a page. Simulations and load tests tell their figures with them."""

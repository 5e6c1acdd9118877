//! Tables as Markdown, on standard output as the rows come.

/// Prints the head of a table.
pub fn head(columns: &[&str]) {
    row(&columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>());
    println!("|{}", " --- |".repeat(columns.len()));
}

/// Prints a row.
pub fn row(cells: &[String]) {
    println!("| {} |", cells.join(" | "));
}

/// The middle of some numbers; NaN of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

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

/// The middle of some numbers, between the two middle ones where their count is even; NaN of none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or(f64::NAN);
    let half = numbers.len() / 2;
    if numbers.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
}

/// The least and the most of some numbers; NaN of none.
pub fn spread(numbers: &[f64]) -> (f64, f64) {
    let of = |other: fn(f64, f64) -> f64| numbers.iter().copied().fold(f64::NAN, other);
    (of(f64::min), of(f64::max))
}

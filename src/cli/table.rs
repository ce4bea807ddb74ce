//! Columns of text, as wide as what is in them.

/// Lines the `rows` up beneath one another. A column is as wide as its longest
/// cell; one without any text is left out.
pub(crate) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let widths = widths(rows);
    rows.iter().map(|row| line(row, widths)).collect::<Vec<_>>().join("\n")
}

/// How wide the columns have to be for `rows`.
pub(crate) fn widths<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    })
}

/// One row.
pub(crate) fn line<const COLUMNS: usize>(
    row: &[String; COLUMNS],
    widths: [usize; COLUMNS],
) -> String {
    let cells = row.iter().zip(widths).filter(|(_, width)| *width > 0);
    let cells = cells.map(|(cell, width)| format!("{cell:width$}  "));
    cells.collect::<String>().trim_end().to_owned()
}

/// A cell for what may be unknown.
pub(crate) fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
